"""Statistics on arrays and data frames: numpy and scipy, no model and no result class."""
