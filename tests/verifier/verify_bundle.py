#!/usr/bin/env python3
"""A second verifier of evidence bundles, written from the description of the format and sharing no code with the mesh.

One line a file: its verdict, then its findings. --frames: files on stdin, each behind its length. --against NOTE
[--consistency HASHES]: a checkpoint that was held before; the file's log must have grown from it, and what it covers
outlives the revocation of a key. Exit code of the last file: 0 VERIFIED, 1 FAILED, 2 UNSUPPORTED, 3 UNTRUSTED,
4 UNSEALED. Needs Python 3.9 and `cryptography`.
"""
import argparse, base64, hashlib, json, struct, sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT, SECTIONS = 1, ("manifest manifest_signature schema keys trace seal decision contract evidence ledger "
                       "checkpoint incident payload").split()
# Beside the bytes: which of attempt, addendum and link an item has, and what it may be called.
SHAPES = {"schema": ("", "descriptor_set"), "trace": ("adl", "header record"), "seal": ("ad", "seal signature"),
          "contract": ("al", "entry"), "evidence": ("al", "item"), "ledger": ("", "entry path"),
          "checkpoint": ("", "note")}

def ed25519(public, message, signature):
    try:
        return Ed25519PublicKey.from_public_bytes(public).verify(signature, message) is None
    except (InvalidSignature, ValueError):
        return False

def vlen(data):
    return struct.pack(">Q", len(data)) + data

def H(tag, *parts):
    return hashlib.sha256(tag.encode() + b"\0" + b"".join(parts)).digest()

def varint(data, at):
    end = next(place for place in range(at, at + 10) if data[place] < 128)
    return sum((data[place] & 127) << 7 * (place - at) for place in range(at, end + 1)), end + 1

class Message:
    """A protobuf message: its fields by number, each with all its values."""
    def __init__(self, data):
        self.fields, at = {}, 0
        while at < len(data):
            key, at = varint(data, at)
            value, at = varint(data, at)
            if key & 7 == 2:
                value, at = data[at:at + value], at + value
            if key & 7 not in (0, 2) or at > len(data):
                raise ValueError("field")
            self.fields.setdefault(key >> 3, []).append(value)
        self.all = lambda number: self.fields.get(number, [])
        self.num = lambda number: self.fields.get(number, [0])[-1]
        self.raw = lambda number: self.fields.get(number, [b""])[-1]
        self.text = lambda number: self.raw(number).decode("utf-8", "replace")
        self.sub = lambda number: Message(self.raw(number)) if number in self.fields else None

def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()

def included(place, size, data, path):
    """The root of a tree that has `data` at `place`."""
    if size == 1:
        return hashlib.sha256(b"\0" + data).digest() if not path else None
    left = 1 << (size - 1).bit_length() - 1  # the largest power of two below it
    if place < left:
        return node(included(place, left, data, path[:-1]), path[-1])
    return node(path[-1], included(place - left, size - left, data, path[:-1]))

def grown(small, large, known, path):
    """The roots of the first `small` and of all `large` leaves; `known`: of a small tree that is not in the path."""
    if small == large:
        [root] = [known, *path] if known else path
        return root, root
    left = 1 << (large - 1).bit_length() - 1
    if small <= left:
        old, new = grown(small, left, known, path[:-1])
        return old, node(new, path[-1])
    old, new = grown(small - left, large - left, None, path[:-1])
    return node(path[-1], old), node(path[-1], new)

def signs(public, origin, text, line):
    """Whether a line of a note is the signature of its text by this key."""
    name, _, data = line.removeprefix("\u2014 ").partition(" ")
    data, named = base64.b64decode(data), hashlib.sha256(origin.encode() + b"\n\1" + public).digest()[:4]
    return name == origin and data[:4] == named and ed25519(public, text.encode(), data[4:])

def checkpoint(note):
    text, _, lines = note.rpartition("\n\n")
    origin, size, root = (text + "\n\n\n").split("\n")[:3]
    return origin, int(size), base64.b64decode(root), text + "\n", lines.splitlines()

class Verifier:
    def __init__(self, trusted, revoked, tenant, against):
        self.trusted, self.tenant, self.found, self.keys = trusted, tenant, {}, dict(trusted)
        self.revoked, self.against, self.anchored = set(revoked), against, set()
        self.items = {name: [] for name in SECTIONS}

    def fail(self, code, at="", when=True):
        self.found.update({(code, str(at)): True} if when else {})

    def read(self, data):
        *lines, end, rest = data.split(b"\n")
        self.fail("TRUNCATED_FILE", when=rest or end != b'{"s":"end","n":%d}' % (len(lines) + 1))
        before = (0, -1)
        for number, text in enumerate(lines, 1):
            line = json.loads(text.decode("utf-8"))
            data, link = base64.b64decode(line["b"], validate=True), bytes.fromhex(line.get("l", ""))
            again = {key: line[key] for key in "sntadbl" if key in line}
            again.update({"b": base64.b64encode(data).decode()}, **({"l": link.hex()} if link else {}))
            canonical = json.dumps(again, separators=(",", ":"), ensure_ascii=False).encode()
            whole = all(type(line[key]) is int for key in "nad" if key in line)
            place = (SECTIONS.index(line["s"]), line["n"])
            follows = place == (before[0], before[1] + 1) or place[0] > before[0] and place[1] == 0
            shape, labels = SHAPES.get(line["s"], ("", line.get("t", "")))
            optional = {"l"} if line["s"] == "ledger" and line["t"] == "entry" else set()  # it has one with its path
            shaped = {*again} - {*"sntb"} - optional == {*shape} and line.get("t", "") in labels.split(" ")
            self.fail("MALFORMED", number, when=canonical != text or not (whole and follows and shaped))
            before = place
            self.items[line["s"]].append({**again, "b": data, "l": link})

    def verify(self, data):
        try:
            first, second = (json.loads(text) for text in data.split(b"\n")[:2])
            raw, signature = base64.b64decode(first["b"]), base64.b64decode(second["b"])
            if Message(raw).num(1) > FORMAT:  # nobody but the exporter may say so
                self.signed((3, second["t"]), "runspine.bundle.v1", raw, signature)
                self.fail("BUNDLE_FORMAT_NEWER")
                return "FAILED" if self.trusted and len(self.found) > 1 else "UNSUPPORTED"
            self.read(data)
            [signature], [raw] = self.items["manifest_signature"], [line["b"] for line in self.items["manifest"]]
            manifest = Message(raw)
            self.tenant_id, self.run_id = manifest.text(3), manifest.text(4)
            self.missing = {Message(m).text(1): Message(m).num(2) for m in manifest.all(9)}
            self.fail("FOREIGN_TENANT", "manifest", when=self.tenant and self.tenant != self.tenant_id)
            for line in self.items["keys"]:
                key = Message(line["b"])
                name = key.num(2), H("runspine.key.v1", key.raw(3))[:16].hex()
                self.fail("MALFORMED", "a key", when=len(key.raw(3)) != 32 or {name[1]} != {line["t"], key.text(1)})
                self.keys.update({} if self.trusted else {name: key.raw(3)})
                self.revoked |= {name} if key.all(7) else set()
            self.signed((3, signature["t"]), "runspine.bundle.v1", raw, signature["b"])
            told = {Message(s).text(1): Message(s) for s in manifest.all(8)}
            for name in SECTIONS[2:]:
                items = [line["b"] for line in self.items[name]]
                digest, section = H("runspine.bundle.section.v1", *map(vlen, items)), told.get(name)
                same = section.raw(4) == digest and section.num(2) == len(items) if section else not items
                self.fail("SECTION_DIGEST", name, when=not same)
            contracts = self.chain("contract", "contract_entry", f"{self.tenant_id}/run/{self.run_id}", "CONTRACT_LINK")
            evidence = self.chain("evidence", "evidence_item", f"{self.tenant_id}/{self.run_id}", "EVIDENCE_LINK")
            self.ledger()
            unsealed = self.traces(contracts, evidence)
            self.documents()
        except Exception as error:  # whatever else is wrong with these bytes
            self.fail("MALFORMED", error)
        return "FAILED" if self.found else "UNSEALED" if unsealed else "VERIFIED" if self.trusted else "UNTRUSTED"

    def signed(self, key, tag, data, signature):
        """What a revoked key signed stands only where a checkpoint that was held before covers it."""
        known = ed25519(self.keys.get(key, b""), tag.encode() + b"\0" + vlen(data), signature)
        self.fail("BAD_SIGNATURE" if key in self.keys else "UNKNOWN_KEY", tag, when=not known)
        self.fail("REVOKED_KEY", tag, when=key in self.revoked and H(tag, vlen(data)) not in self.anchored)

    def chain(self, section, item, key, code):
        chains = {}
        for line in self.items[section]:
            start = H(f"runspine.{section}.v1", vlen(f"{key}/{line['a']}".encode()))
            links, items = chains.setdefault(line["a"], ([start], []))
            links.append(H(f"runspine.{item}.v1", links[-1], vlen(line["b"])))
            items.append(line["b"])
            self.fail(code, f"attempt {line['a']} entry {len(items)}", when=links[-1] != line["l"])
        return chains

    def traces(self, contracts, evidence):
        traces, seals, self.decisions = {}, {}, {}
        for line in self.items["trace"]:
            place = (line["a"], line["d"])
            self.fail("MALFORMED", place, when=(line["t"] == "header") == (place in traces))
            traces.setdefault(place, []).append(line)
        for line in self.items["seal"]:
            seals.setdefault((line["a"], line["d"]), {})[line["t"]] = line["b"]
        self.fail("MALFORMED", "two seals", when=len(self.items["seal"]) != sum(map(len, seals.values())))
        last = max(traces, default=None)
        unsealed = self.missing.get("seal") == 4 and last not in seals
        for before, place in zip([None, *sorted(traces)], sorted(traces)):
            follows = ((1, 0),) if before is None else ((before[0], before[1] + 1), (before[0] + 1, 0))
            self.fail("ATTEMPT_MISSING", place, when=place not in follows)
            base = (place[0], place[1] - 1) if place[1] else (place[0] - 1, 0)
            named = H("runspine.seal.v1", vlen(seal)) if (seal := seals.get(base, {}).get("seal")) else b""
            self.fail("SEAL_CHAIN", place, when=Message(traces[place][0]["b"]).raw(21) != named)
            self.trace(place, traces[place], seals.get(place, {}), unsealed and place == last, contracts, evidence)
        self.fail("ATTEMPT_MISSING", when=not traces or set(seals) - set(traces))
        return unsealed

    def trace(self, place, lines, seal, open_last, contracts, evidence):
        header = Message(lines[0]["b"])
        ids = (self.tenant_id, self.run_id, *place)
        self.fail("HEADER_IDS", place, when=(header.text(2), header.text(3), header.num(4), header.num(22)) != ids)
        link = H("runspine.trace.v1", vlen(lines[0]["b"]))
        for position, line in enumerate(lines):
            link = H("runspine.step.v1", link, vlen(line["b"])) if position else link
            self.fail("LINK_MISMATCH", f"{place} position {position}", when=link != line["l"])
            record = Message(line["b"])
            self.fail("POSITION_ORDER", f"{place} position {position}", when=position and record.num(1) != position)
            if position and (decision := record.sub(16)):
                self.decisions[decision.text(1)] = decision
        if len(seal) < 2:
            return self.fail("SEAL_MISSING", place, when=not open_last)
        said = Message(seal["seal"])
        self.fail("SEAL_COUNT", place, when=said.num(6) != len(lines) - 1)
        self.fail("SEAL_LINK", place, when=(said.raw(5), said.raw(7)) != (header.raw(5), link))
        self.fail("SEAL_IDS", place, when=(said.text(2), said.text(3), said.num(4), said.num(22)) != ids)
        self.signed((1, said.text(11)), "runspine.seal.v1", seal["seal"], seal["signature"])
        for chains, count, name in ((evidence, 23, "EVIDENCE_LINK"), (contracts, 13, "CONTRACT_LINK")):
            links, told = chains.get(place[0], ([], []))[0], (said.num(count), said.raw(count + 1))
            bound = count == 23 or not place[1]  # an addendum binds evidence alone
            self.fail(name, place, when=bound and told != (0, b"") and links[told[0]:told[0] + 1] != [told[1]])
        entries = [Message(e) for e in contracts.get(place[0], ([], []))[1][:said.num(13)]]
        verdicts = [e.sub(11).num(2) for e in entries if e.sub(11)]
        acks = [(e.sub(10).text(1), e.sub(10).text(2)) for e in entries if e.sub(10)]
        agrees = ("orchestrator", "finalize_run") in acks and verdicts[-1:] == [said.num(15)]
        self.fail("CONTRACT_VERDICT", place, when=not place[1] and not agrees)

    def documents(self):
        rows = {line["t"]: line["b"] for line in self.items["decision"]}
        self.fail("MALFORMED", "decision", when=len(rows) != len(self.items["decision"]))
        self.fail("DECISION_DIGEST", when={name.removesuffix(".inputs") for name in rows} - self.decisions.keys())
        self.fail("DECISION_MISSING", when=self.decisions.keys() - rows.keys() and "decision" not in self.missing)
        for name in self.decisions.keys() & rows.keys():
            decision, row, inputs = self.decisions[name], json.loads(rows[name]), rows.get(name + ".inputs")
            word = ["", "ALLOW", "DENY", "MODIFY", "REQUIRE_APPROVAL", "DEFER"][decision.num(2)]
            told = {row[key] for key in ("effective_verdict", "verdict", "verdict_without_bypass") if key in row}
            strangers = {r.get("source_id", "").encode() for r in row.get("reasons", [])} - {b"", *decision.all(10)}
            meets = not strangers and (not told or told & {decision.num(2), word, "VERDICT_" + word})
            free = decision.num(8) != 5 or decision.text(9) == "BYPASS_UNCONFIRMED"  # neither is the row's
            bound = ((row.get("snapshot_digest"), decision.raw(11)), (row.get("inputs_digest"), decision.raw(18)))
            differs = any(digest and text not in (None, digest.hex()) for text, digest in bound)
            self.fail("DECISION_DIGEST", name, when=row.get("decision_id") != name or differs or not (free or meets))
            digests = [H(f"runspine.{who}input.v1", vlen(inputs or b"")) for who in ("policy", "control")]
            self.fail("DECISION_DIGEST", name + ".inputs", when=inputs and decision.raw(18) not in (b"", *digests))

    def ledger(self):
        last, proved, entries = 0, [], []
        for line in self.items["ledger"]:
            entries.append((line, [])) if line["t"] == "entry" else entries[-1][1].append(Message(line["b"]))
        for line, paths in entries:
            entry = Message(line["b"])
            self.fail("FOREIGN_TENANT", entry.num(1), when=entry.text(4) != self.tenant_id)
            self.fail("POSITION_ORDER", entry.num(1), when=entry.text(7) != self.run_id or entry.num(1) <= last)
            last = entry.num(1)
            self.fail("INCLUSION", last, when=len(paths) != 1 and (paths or "checkpoint" not in self.missing))
            for path in paths:
                link = H("runspine.entry.v1", path.raw(3), vlen(line["b"]))
                self.fail("INCLUSION", last, when=path.num(1) != last or link != line["l"])
                proved.append((path, link, entry))
        if not self.items["checkpoint"]:
            wanted = proved or self.against or entries and "checkpoint" not in self.missing
            return self.fail("CHECKPOINT_MISSING", when=wanted)
        origin, size, root, text, lines = checkpoint(b"".join(line["b"] for line in self.items["checkpoint"]).decode())
        self.fail("FOREIGN_TENANT", origin, when=origin.rpartition("/")[2] != self.tenant_id)
        good = [public for name, public in self.keys.items() if name[0] == 2 and name not in self.revoked]
        signed = any(signs(public, origin, text, line) for public in good for line in lines)
        self.fail("CHECKPOINT_SIGNATURE", when=not signed)
        held = self.held(origin, (size, root)) if self.against and signed else 0
        for path, link, entry in proved:
            leads = path.num(2) == size and included(path.num(1) - 1, size, link, path.all(4)) == root
            self.fail("INCLUSION", path.num(1), when=not leads)
            if leads and path.num(1) <= held and entry.text(5) in ("logs.TraceSealed", "logs.AddendumSealed"):
                self.anchored.add(entry.raw(18))

    def held(self, origin, own):
        """The size of the checkpoint that was held before; 0 when one of the logs did not grow from the other."""
        known, size, root = checkpoint(self.against[0])[:3]
        (small, first), large = sorted([own, (size, root)])
        follows = origin == known and grown(small, large[0], first, self.against[1]) == (first, large[1])
        self.fail("CHECKPOINT_FORK", when=not follows)
        return size if follows else 0

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trust", action="append", default=[])
    parser.add_argument("--frames", action="store_true")
    for name in ("--tenant", "--against", "--consistency"):
        parser.add_argument(name)
    parser.add_argument("files", nargs="*")
    args, trusted, revoked, code = parser.parse_args(), {}, set(), 0
    hashes = [base64.b64decode(line) for line in open(args.consistency)] if args.consistency else []
    against = (open(args.against, encoding="utf-8").read(), hashes) if args.against else None
    for line in (line for path in args.trust for line in open(path)):
        line, _, word = line.strip().partition(" ")
        purpose, key = line.split("+", 2)[1], base64.b64decode(line.split("+", 2)[2])
        name = "SEAL CHECKPOINT EXPORT CERTIFICATE".split().index(purpose) + 1, H("runspine.key.v1", key)[:16].hex()
        trusted[name] = key
        revoked |= {name} if word == "revoked" else set()
    frames = (sys.stdin.buffer.read(*struct.unpack(">Q", size)) for size in iter(lambda: sys.stdin.buffer.read(8), b""))
    for data in frames if args.frames else (open(path, "rb").read() for path in args.files):
        verifier = Verifier(trusted, revoked, args.tenant, against)
        verdict = verifier.verify(data)
        code = {"VERIFIED": 0, "FAILED": 1, "UNSUPPORTED": 2, "UNTRUSTED": 3, "UNSEALED": 4}[verdict]
        print(verdict, *(f"{name}({at})" if at else name for name, at in verifier.found), flush=True)
    return code

if __name__ == "__main__":
    sys.exit(main())
