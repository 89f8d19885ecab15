"""How `kvtape demo` shows what it did: as a live table, a page, or JSON. Nothing here knows the engine."""
