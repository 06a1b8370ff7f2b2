"""The figures: style and montage, which others draw with, and one command for each figure of the paper."""
