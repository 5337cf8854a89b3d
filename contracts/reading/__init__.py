"""Reading what was sent as a document: every accepted spelling becomes the normalised form."""
