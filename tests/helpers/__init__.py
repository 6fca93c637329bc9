"""Helpers of several test files: tiny models, slow reference implementations, files to read, commands to call."""
