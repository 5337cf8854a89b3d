"""What every part of Flotilla agrees on: values, the document, messages, subjects, statuses, history.

Pure data and pure functions. Imports msgspec and the standard library, reads nothing from the world.
"""
