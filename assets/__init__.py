"""The asset graph, a module per stage. Assets call the library and return values; the IO manager alone writes."""
