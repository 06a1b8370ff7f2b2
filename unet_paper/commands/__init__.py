"""The commands of ``python -m unet_paper``, one module each; only ``train``, ``predict`` and ``export`` need torch."""
