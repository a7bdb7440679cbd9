"""flychat: a realtime chat whose streams are perfect and whose servers are disposable."""

__version__ = "0.1.0"
