"""Wire protocols: bytes to typed messages and back. No sockets, no clock, no engine."""
