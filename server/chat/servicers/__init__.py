"""The chat services: they translate, the rest of the module decides."""
