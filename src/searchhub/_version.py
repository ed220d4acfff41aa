"""The version, where neither the package nor a build needs to be imported to read it."""

__version__ = "0.1.0"
