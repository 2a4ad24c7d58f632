"""Fills an Azurite that was just started, and prints a SAS_NAME=… for each SAS that hack/azurite/azurite describes.

What is signed is written here once more, from the same reference, so that it is not the operator that tells itself it signs rightly.
"""

import base64
import datetime
import hashlib
import hmac
import ssl
import sys
import urllib.parse
import urllib.request

VERSION = "2023-11-03"
said = dict(line.rstrip("\n").split("=", 1) for line in open(sys.argv[1], encoding="utf-8"))
account = said["ACCOUNT"]
tls = ssl.create_default_context(cafile=said["CA"])
# It is asked directly, whatever proxy this machine has.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls))
now = datetime.datetime.now(datetime.timezone.utc)


def sign(text, key=None):
    digest = hmac.new(base64.b64decode(key or said["KEY"]), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def put(path, body=b"", **headers):
    """A PUT with the account's key. `path` is below the account."""
    path, _, query = path.partition("?")
    own = {"x-ms-date": now.strftime("%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": VERSION}
    own.update({f"x-ms-{name.replace('_', '-')}": value for name, value in headers.items()})
    length = str(len(body)) if body else ""
    lines = ["PUT", "", "", length, "", "application/octet-stream", "", "", "", "", "", ""]
    lines += [f"{name}:{own[name]}" for name in sorted(own)]
    lines.append(f"/{account}/{account}/{path}")
    lines += [f"{name}:{value}" for name, value in sorted(urllib.parse.parse_qsl(query))]
    own["Authorization"] = f"SharedKey {account}:{sign(chr(10).join(lines))}"
    own["Content-Type"] = "application/octet-stream"
    url = f"https://{said['AZURITE']}/{account}/{path}{'?' if query else ''}{query}"
    with opener.open(urllib.request.Request(url, body, own, method="PUT")) as answer:
        assert answer.status in (200, 201), answer.status


def at(hours):
    return (now + datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def container_sas(permissions="", start="", end=at(24), policy="", key=None, blob=""):
    """Of the container `orders`, or of one blob in it ("Create a service SAS")."""
    if policy:
        end = ""
    kind = "b" if blob else "c"
    resource = f"/blob/{account}/orders" + (f"/{blob}" if blob else "")
    text = [permissions, start, end, resource, policy, "", "", VERSION, kind, "", "", "", "", "", "", ""]
    words = {"sv": VERSION, "sr": kind, "sp": permissions, "st": start, "se": end, "si": policy, "sig": sign("\n".join(text), key)}
    return urllib.parse.urlencode({name: value for name, value in words.items() if value})


def account_sas(permissions, resources):
    """Of the account, for blobs ("Create an account SAS")."""
    text = [account, permissions, "b", resources, "", at(24), "", "", VERSION, "", ""]
    words = {"sv": VERSION, "ss": "b", "srt": resources, "sp": permissions, "se": at(24), "sig": sign("\n".join(text))}
    return urllib.parse.urlencode(words)


put("orders?restype=container")
put("empty?restype=container")
put("orders/2026/a.txt", b"hello", blob_type="BlockBlob")
policy = (
    "<SignedIdentifiers><SignedIdentifier><Id>reader</Id><AccessPolicy>"
    f"<Start>{at(-1)}</Start><Expiry>{at(24)}</Expiry><Permission>rl</Permission>"
    "</AccessPolicy></SignedIdentifier></SignedIdentifiers>"
)
put("orders?restype=container&comp=acl", policy.encode())

for name, sas in {
    "READER": container_sas("rl"),
    "LISTER": container_sas("l"),
    "GETTER": container_sas("r"),
    "WRITER": container_sas("rwl"),
    "CREATOR": container_sas("cl"),
    "PUTTER": container_sas("wl"),
    "POLICY": container_sas(policy="reader"),
    "GONE": container_sas(policy="gone"),
    "EXPIRED": container_sas("rl", end=at(-1)),
    "FUTURE": container_sas("rl", start=at(1)),
    "FORGED": container_sas("rl", key=said["OTHER_KEY"]),
    "BLOB": container_sas("r", blob="2026/a.txt"),
    "ACCOUNT_READER": account_sas("rl", "co"),
    "ACCOUNT_CREATOR": account_sas("cl", "co"),
    "ACCOUNT_CONTAINERS": account_sas("rl", "c"),
}.items():
    print(f"SAS_{name}={sas}")
