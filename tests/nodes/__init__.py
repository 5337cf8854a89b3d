"""Node types: every one through the same conformance cases, and cases of its own."""
