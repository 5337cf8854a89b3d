"""Tests of Flotilla, in folders named after what they test."""
