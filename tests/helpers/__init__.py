"""What several test files share: tiny models, slow reference implementations, files to read, commands to call."""
