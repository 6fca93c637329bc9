"""The five lines of the README, as a script: find culture-general neurons, switch them off, see what it costs."""

import culnig

lm = culnig.load_model("smollm2-135m")
neur, ctrl, crc = (culnig.load_items(n) for n in ("everyday:neur", "everyday:ctrl", "country_rc:neur"))
neurons = culnig.select_general(*(culnig.score(lm, items) for items in (neur, ctrl, crc)))
test = culnig.load_items("everyday:test", draws=1)
before = culnig.evaluate(lm, test)
with culnig.suppress(lm, neurons):  # restores the model whatever happens
    after = culnig.evaluate(lm, test)
print(culnig.compare(after, before))
print(after.by("country").to_string(index=False))
