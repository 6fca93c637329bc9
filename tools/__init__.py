"""What makes files of the repository: executed notebooks, and pages of the docs."""
