def load_results(x): pass
