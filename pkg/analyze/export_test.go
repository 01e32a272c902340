package analyze

// Wait returns once no computation is under way.
func (a *Analyzer) Wait() { a.wait() }
