"""The examples' models and recipes in PyTorch, and other libraries, to be compared with."""
