"""The commands of ``python -m unet_paper``, one module each; only ``train`` and ``predict`` need torch."""
