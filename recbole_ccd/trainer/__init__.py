"""How it learns: one RecBole trainer per stage."""
