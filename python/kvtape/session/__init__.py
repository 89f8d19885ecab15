"""Live-data sessions: a sequence that rows stream into, the questions asked of it, and who listens."""
