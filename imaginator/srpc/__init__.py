"""Dominator's wire protocol: the only room that knows Go's encoding/gob."""
