"""Statistics on arrays and data frames with numpy and scipy; no model and no result class."""
