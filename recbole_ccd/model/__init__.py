"""What learns: growable models, the teacher ensemble and the proxies."""
