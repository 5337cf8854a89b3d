"""What tests build on: servers, builders, recordings."""
