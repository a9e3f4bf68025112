"""The worker: hosts PyTorch for a TypeScript client. It runs what it is sent, and knows nothing of training."""

__version__ = "0.1.0"
