"""The symbolic side: SymPy statements of the theorems and a safe parser."""
