"""One file = one kind of provider: `Settings` says what may be configured, `build(settings, site)` makes it.

A name with a leading underscore is shared reading, not a kind. No file here imports another kind.
"""
