"""The version, which files that are written name too."""

__version__ = "0.1.0"
