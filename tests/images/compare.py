# Writes beside each image of a folder what crit makes of it, plain and pretty, and
# what it makes of what we make of it.
import io, json, os, sys, traceback
import pycriu

folder, ours = sys.argv[1:]
for name in sorted(os.listdir(folder)):
    if not name.endswith(".img") and not name.startswith("stats-"):
        continue
    path = os.path.join(folder, name)
    out = os.path.join(ours, name)
    try:
        for pretty, end in ((False, ".plain"), (True, ".pretty")):
            with open(path, "rb") as image:
                document = pycriu.images.load(image, pretty)
            with open(out + end, "w") as text:
                json.dump(document, text, indent=4 if pretty else None)
    except Exception:
        with open(out + ".failed", "w") as text:
            traceback.print_exc(file=text)
