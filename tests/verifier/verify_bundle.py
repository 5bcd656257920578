#!/usr/bin/env python3
"""A second verifier of evidence bundles, written from the description of the format and sharing no code with the mesh.

    verify_bundle.py --trust KEYFILE [--tenant ID] FILE...    one line a file: its verdict, then its findings
    verify_bundle.py --trust KEYFILE --frames                 the same for files on stdin, each behind its length

--against NOTE [--consistency HASHES]: a checkpoint that was held before; the file's log must have grown from it, and what
it covers outlives the revocation of a key.

Needs Python 3.9 and `cryptography`. Exit code of the last file: 0 VERIFIED, 1 FAILED, 3 UNTRUSTED, 4 UNSEALED.
"""
import argparse, base64, hashlib, json, struct, sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SECTIONS = ("manifest manifest_signature schema keys trace seal decision contract evidence ledger checkpoint incident "
            "payload end").split()
# Beside the bytes: which of attempt, addendum and link an item has, and what it may be called.
SHAPES = {"schema": ("", "descriptor_set"), "trace": ("adl", "header record"), "seal": ("ad", "seal signature"),
          "contract": ("al", "entry"), "evidence": ("al", "item"), "ledger": ("", "entry path"),
          "checkpoint": ("", "note")}

def ed25519(public, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False

class Broken(Exception):
    """Bytes that can't be what they should be."""
def vlen(data):
    return struct.pack(">Q", len(data)) + data

def H(tag, *parts):
    return hashlib.sha256(tag.encode() + b"\0" + b"".join(parts)).digest()

def varint(data, at):
    value = 0
    for shift, byte in enumerate(data[at:at + 10]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    raise Broken("varint")

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
                raise Broken("field")
            self.fields.setdefault(key >> 3, []).append(value)
        self.all = lambda number: self.fields.get(number, [])
        self.num = lambda number: self.fields.get(number, [0])[-1]
        self.raw = lambda number: self.fields.get(number, [b""])[-1]
        self.text = lambda number: self.raw(number).decode("utf-8", "replace")
        self.sub = lambda number: Message(self.raw(number)) if number in self.fields else None

def inclusion(place, size, data, path, root):
    fn, sn, r = place, size - 1, hashlib.sha256(b"\0" + data).digest()
    for p in path:
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\1" + p + r).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = hashlib.sha256(b"\1" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    return 0 <= place < size and sn == 0 and r == root

def consistency(small, large, first, second, path):
    node = lambda left, right: hashlib.sha256(b"\1" + left + right).digest()
    if small == large:
        return not path and first == second
    path = ([first] if small & (small - 1) == 0 else []) + path
    fn, sn = small - 1, large - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0] if path else b""
    for p in path[1:]:
        if fn & 1 or fn == sn:
            old, new = node(p, old), node(p, new)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node(new, p)
        fn, sn = fn >> 1, sn >> 1
    return 0 < small < large and sn == 0 and (old, new) == (first, second)

def checkpoint(note):
    text, _, lines = note.rpartition("\n\n")
    origin, size, root = (text + "\n\n\n").split("\n")[:3]
    return origin, int(size), base64.b64decode(root), text + "\n", lines.splitlines()

class Verifier:
    def __init__(self, trusted, revoked, tenant, against):
        self.trusted, self.tenant, self.found, self.keys = trusted, tenant, [], dict(trusted)
        self.revoked, self.against, self.anchored = set(revoked), against, set()
        self.items = {name: [] for name in SECTIONS}

    def fail(self, code, at="", when=True):
        if when and (code, str(at)) not in self.found:
            self.found.append((code, str(at)))

    def read(self, data):
        lines, rank, index, ended = data.split(b"\n"), 0, 0, False
        self.fail("TRUNCATED_FILE", when=lines.pop() != b"")
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text.decode("utf-8"))
                order = [key for key in "sntadbl" if key in line]
                canonical = json.dumps({key: line[key] for key in order}, separators=(",", ":"), ensure_ascii=False)
                whole = all(type(line[key]) is int for key in "nad" if key in line)
                if ended or canonical.encode() != text or len(order) != len(line) or not whole:
                    raise Broken("form")
                here = SECTIONS.index(line["s"])
                if ended := line["s"] == "end":
                    self.fail("MALFORMED", number, when=line != {"s": "end", "n": number})
                    continue
                ordered = here > rank and line["n"] == 0 or here == rank and line["n"] == index
                rank, index = max(here, rank), line["n"] + 1 if here >= rank else index
                shape, labels = SHAPES.get(line["s"], ("", None))
                bare = "l" not in line or line["t"] == "entry"  # an entry of the ledger has a link when it has a path
                shaped = {*order} - {*"sntb"} == {*shape} or line["s"] == "ledger" and bare and {*order} <= {*"sntbl"}
                if not ordered or not shaped or labels and line["t"] not in labels.split():
                    raise Broken("shape")
                data, link = base64.b64decode(line["b"], validate=True), bytes.fromhex(line.get("l", ""))
                if base64.b64encode(data).decode() != line["b"] or link.hex() != line.get("l", ""):
                    raise Broken("form")
                self.items[line["s"]].append({**line, "b": data, **({"l": link} if link else {})})
            except (Broken, ValueError, KeyError, TypeError):
                self.fail("MALFORMED", number)
        self.fail("TRUNCATED_FILE", when=not ended)

    def verify(self, data):
        self.read(data)
        try:
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
            public = self.keys.get((3, signature.get("t")))
            if public is None:
                self.fail("UNKNOWN_KEY", "manifest")
            elif not ed25519(public, b"runspine.bundle.v1\0" + vlen(raw), signature["b"]):
                self.fail("MANIFEST_SIGNATURE")
            self.fail("REVOKED_KEY", "manifest", when=(3, signature.get("t")) in self.revoked)
            told = {Message(s).text(1): Message(s) for s in manifest.all(8)}
            for name in SECTIONS[2:-1]:
                items = [line["b"] for line in self.items[name]]
                section, digest = told.get(name), H("runspine.bundle.section.v1", *map(vlen, items))
                if (section.raw(4) != digest or section.num(2) != len(items)) if section else items:
                    self.fail("SECTION_DIGEST", name)
            contracts = self.chain("contract", "contract_entry", f"{self.tenant_id}/run/{self.run_id}", "CONTRACT_LINK")
            evidence = self.chain("evidence", "evidence_item", f"{self.tenant_id}/{self.run_id}", "EVIDENCE_LINK")
            self.ledger()
            unsealed = self.traces(contracts, evidence)
            self.documents()
        # AttributeError and TypeError: a number where bytes belong.
        except (Broken, KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            self.fail("MALFORMED", error)
            return "FAILED"
        if self.found:
            return "FAILED"
        return "UNSEALED" if unsealed else "VERIFIED" if self.trusted else "UNTRUSTED"

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
        traces, seals, unsealed, self.decisions = {}, {}, False, {}
        for line in self.items["trace"]:
            place = (line["a"], line["d"])
            if (line["t"] == "header") == (place in traces) or line["t"] not in ("header", "record"):
                raise Broken("trace")
            traces.setdefault(place, []).append(line)
        for line in self.items["seal"]:
            if seals.setdefault((line["a"], line["d"]), {}).setdefault(line["t"], line["b"]) is not line["b"]:
                raise Broken("two seals")
        for before, place in zip([None, *sorted(traces)], sorted(traces)):
            follows = ((1, 0),) if before is None else ((before[0], before[1] + 1), (before[0] + 1, 0))
            self.fail("ATTEMPT_MISSING", place, when=place not in follows)
            base = (place[0], place[1] - 1) if place[1] else (place[0] - 1, 0)
            seal = seals.get(base, {}).get("seal")
            named = hashlib.sha256(b"runspine.seal.v1\0" + vlen(seal)).digest() if seal else b""
            self.fail("SEAL_CHAIN", place, when=Message(traces[place][0]["b"]).raw(21) != named)
            open_last = place == max(traces) and self.missing.get("seal") == 4 and place not in seals
            self.trace(place, traces[place], seals.get(place), open_last, contracts, evidence)
            unsealed |= open_last
        self.fail("ATTEMPT_MISSING", when=not traces or set(seals) - set(traces))
        return unsealed

    def trace(self, place, lines, seal, open_last, contracts, evidence):
        header = Message(lines[0]["b"])
        if header.text(2) != self.tenant_id or header.text(3) != self.run_id:
            self.fail("FOREIGN_TENANT" if header.text(2) != self.tenant_id else "FOREIGN_RUN", place)
        self.fail("HEADER_IDS", place, when=(header.num(4), header.num(22)) != place)
        link = H("runspine.trace.v1", vlen(lines[0]["b"]))
        for position, line in enumerate(lines):
            link = H("runspine.step.v1", link, vlen(line["b"])) if position else link
            self.fail("LINK_MISMATCH", f"{place} position {position}", when=link != line["l"])
            record = Message(line["b"])
            if position and record.num(1) != position:
                code = "POSITION_GAP" if record.num(1) > position else "POSITION_ORDER"
                self.fail(code, f"{place} position {position}")
            if position and (decision := record.sub(16)):
                self.decisions[decision.text(1)] = decision
        if not seal or "seal" not in seal or "signature" not in seal:
            return self.fail("SEAL_MISSING", place, when=not open_last)
        said = Message(seal["seal"])
        if said.num(6) != len(lines) - 1:
            self.fail("SEAL_COUNT" if said.num(6) >= len(lines) else "EXTRA_RECORDS", place)
        self.fail("SEAL_LINK", place, when=said.raw(7) != link)
        if (said.text(2), said.text(3), said.num(4), said.raw(5), said.num(22)) != (
                self.tenant_id, self.run_id, place[0], header.raw(5), place[1]):
            self.fail("SEAL_IDS", place)
        public = self.keys.get((1, said.text(11)))
        if public is None:
            self.fail("UNKNOWN_KEY", place)
        elif not ed25519(public, b"runspine.seal.v1\0" + vlen(seal["seal"]), seal["signature"]):
            self.fail("BAD_SIGNATURE", place)
        elif (1, said.text(11)) in self.revoked:
            digest = hashlib.sha256(b"runspine.seal.v1\0" + vlen(seal["seal"])).digest()
            self.fail("REVOKED_KEY", place, when=digest not in self.anchored)
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
        for name in rows:
            self.fail("DECISION_DIGEST", name, when=name.removesuffix(".inputs") not in self.decisions)
        for name, decision in self.decisions.items():
            row, inputs = rows.get(name), rows.get(name + ".inputs")
            if row is None:
                self.fail("DECISION_MISSING", name, when="decision" not in self.missing)
                continue
            row = json.loads(row)
            names = ["", "ALLOW", "DENY", "MODIFY", "REQUIRE_APPROVAL", "DEFER"]
            told = [row[k] for k in ("effective_verdict", "verdict", "verdict_without_bypass") if k in row]
            mine = (decision.num(2), names[decision.num(2)], "VERDICT_" + names[decision.num(2)])
            pairs = (("snapshot_digest", 11), ("inputs_digest", 18))
            agrees = row.get("decision_id") == name and all(
                not decision.raw(n) or row.get(k, decision.raw(n).hex()) == decision.raw(n).hex() for k, n in pairs)
            if not agrees or (decision.num(8) == 5 and told and not any(value in mine for value in told)):
                self.fail("DECISION_DIGEST", name)
            tags = ("runspine.policyinput.v1", "runspine.controlinput.v1")
            if inputs and decision.raw(18) and decision.raw(18) not in [H(tag, vlen(inputs)) for tag in tags]:
                self.fail("DECISION_DIGEST", name + ".inputs")

    def ledger(self):
        last, waiting, proved = 0, None, []
        for line in self.items["ledger"] + [{"t": "entry", "b": b""}]:
            if line["t"] == "path":
                entry, waiting, path = waiting, None, Message(line["b"])
                link = H("runspine.entry.v1", path.raw(3), vlen(entry["b"])) if entry else b""
                if not entry or path.num(1) != Message(entry["b"]).num(1) or link != entry.get("l"):
                    self.fail("INCLUSION", path.num(1))
                proved.append((path, link, Message(entry["b"]) if entry else Message(b"")))
                continue
            self.fail("INCLUSION", "an entry has no path", when=waiting and "checkpoint" not in self.missing)
            waiting, entry = (line, Message(line["b"])) if line["b"] else (None, None)
            if entry:
                if entry.text(4) != self.tenant_id or entry.text(7) != self.run_id or entry.num(1) <= last:
                    self.fail("FOREIGN_TENANT" if entry.text(4) != self.tenant_id else "POSITION_ORDER", entry.num(1))
                last = entry.num(1)
        if not self.items["checkpoint"]:
            self.fail("CHECKPOINT_MISSING", when=proved or self.against or (
                self.items["ledger"] and "checkpoint" not in self.missing))
            return
        note = b"".join(line["b"] for line in self.items["checkpoint"]).decode("utf-8", "replace")
        origin, size, root, text, lines = checkpoint(note)
        self.fail("FOREIGN_TENANT", origin, when=origin.rpartition("/")[2] != self.tenant_id)
        signed = False
        good = [public for (purpose, name), public in self.keys.items() if purpose == 2 and (2, name) not in self.revoked]
        for line in lines:
            name, _, data = line.removeprefix("\u2014 ").partition(" ")
            data = base64.b64decode(data)
            for public in good if name == origin else []:
                named = hashlib.sha256(origin.encode() + b"\n\1" + public).digest()[:4]
                signed |= named == data[:4] and ed25519(public, text.encode(), data[4:])
        self.fail("CHECKPOINT_SIGNATURE", when=not signed)
        held = self.compare((origin, size, root)) if self.against and signed else 0
        for path, link, entry in proved:
            leads = path.num(2) == size and inclusion(path.num(1) - 1, size, link, path.all(4), root)
            self.fail("INCLUSION", path.num(1), when=not leads)
            if leads and path.num(1) <= held and entry.text(5) in ("logs.TraceSealed", "logs.AddendumSealed"):
                self.anchored.add(entry.raw(18))

    def compare(self, own):
        """The size of the checkpoint that was held before; 0 when the file's log did not grow from it, or it from that."""
        note, path = self.against
        origin, size, root = checkpoint(note)[:3]
        small, large = sorted([own[1:], (size, root)], key=lambda one: one[0])
        follows = origin == own[0] and consistency(small[0], large[0], small[1], large[1], path)
        self.fail("CHECKPOINT_FORK", when=not follows)
        return size if follows else 0

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trust", action="append", default=[])
    parser.add_argument("--tenant"), parser.add_argument("--frames", action="store_true")
    parser.add_argument("--against"), parser.add_argument("--consistency")
    parser.add_argument("files", nargs="*")
    args, trusted, revoked, code = parser.parse_args(), {}, set(), 0
    hashes = [base64.b64decode(line) for line in open(args.consistency)] if args.consistency else []
    against = (open(args.against, encoding="utf-8").read(), hashes) if args.against else None
    purposes = {"SEAL": 1, "CHECKPOINT": 2, "EXPORT": 3, "CERTIFICATE": 4}
    for path in args.trust:
        for line in open(path):
            line, _, word = line.strip().partition(" ")
            _, purpose, key = line.split("+", 2)
            key = base64.b64decode(key)
            name = purposes[purpose], H("runspine.key.v1", key)[:16].hex()
            trusted[name] = key
            revoked |= {name} if word == "revoked" else set()
    frames = (sys.stdin.buffer.read(*struct.unpack(">Q", size)) for size in iter(lambda: sys.stdin.buffer.read(8), b""))
    for data in frames if args.frames else (open(path, "rb").read() for path in args.files):
        verifier = Verifier(trusted, revoked, args.tenant, against)
        verdict = verifier.verify(data)
        code = {"VERIFIED": 0, "FAILED": 1, "UNTRUSTED": 3, "UNSEALED": 4}[verdict]
        print(verdict, *(f"{name}({at})" if at else name for name, at in verifier.found), flush=True)
    return code

if __name__ == "__main__":
    sys.exit(main())
