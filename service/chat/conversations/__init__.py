"""Conversations that the service keeps: continued, read back, erased, purged, and answered once however often asked."""
