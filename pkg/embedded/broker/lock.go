package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// A dirLock keeps a second broker, in this process or another, from writing to
// the same directory. The kernel drops it with the process.
type dirLock struct{ f *os.File }

// lockDir makes the directory and locks it. With "" there is nothing to lock.
func lockDir(dir string) (*dirLock, error) {
	if dir == "" {
		return &dirLock{}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the broker's data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "broker.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the broker's data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: another broker has it: %w", dir, err)
	}
	return &dirLock{f}, nil
}

func (l *dirLock) release() {
	if l.f != nil {
		l.f.Close()
	}
}
