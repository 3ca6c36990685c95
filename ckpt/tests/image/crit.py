# Runs crit for each line of arguments on standard input, output of the Nth into the
# file N of a folder. A process for each, since crit keeps what it has read.
import json, os, sys
import crit.__main__ as crit

folder = sys.argv[1]
for number, line in enumerate(sys.stdin):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            out = os.open(os.path.join(folder, str(number)), os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(out, 1)
            sys.argv = ["crit"] + json.loads(line)
            crit.main()
            sys.stdout.flush()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status != 0:
        sys.exit("crit fails: " + line)
