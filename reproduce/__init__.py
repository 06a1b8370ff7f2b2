"""The paper's tables and figures, one module each; run ``python -m reproduce list``."""
