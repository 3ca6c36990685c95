import hashlib, mmap, os, signal, sys

# Holds memory of which no page is like another, and tells what is in it when it is asked.
PAGE = 4096
size = int(sys.argv[1]) << 20
child = "child" in sys.argv
area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, size, 1 << 20):
    area[at : at + (1 << 20)] = os.urandom(1 << 20)


def say(name, text):
    with open(name + ".new", "w") as file:
        file.write(text)
    os.rename(name + ".new", name)


def change(*_):
    # One page of twenty.
    for at in range(0, size, 20 * PAGE):
        area[at : at + PAGE] = os.urandom(PAGE)
    changes = change.count = change.count + 1
    say("changed", str(changes))


def tell(*_):
    tell.count += 1
    say("digest", f"{tell.count} {hashlib.sha1(area).hexdigest()}")


change.count = tell.count = 0
ours = {signal.SIGUSR1: change, signal.SIGUSR2: tell}
# Waited for, and not handled: one that comes between two waits is not lost.
signal.pthread_sigmask(signal.SIG_BLOCK, ours)
if child and os.fork() == 0:
    while True:
        signal.pause()
say("ready", "")
while True:
    ours[signal.sigwait(ours)]()
