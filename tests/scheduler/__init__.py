"""The scheduler around its core, part by part, without servers."""
