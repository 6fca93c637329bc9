"""What a hostile file could try, and what stops it; docs/security.md names these tests."""
