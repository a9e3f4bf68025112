"""The worker: it hosts PyTorch for a TypeScript client. It runs the operations that it receives, and knows nothing of
training.
"""

__version__ = "0.1.0"
