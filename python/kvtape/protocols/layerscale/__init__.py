"""The LayerScale dialect: live-data sessions, flash queries and their events."""
