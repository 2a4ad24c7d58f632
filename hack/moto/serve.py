"""moto as one process that checks signatures and IAM policies, seeded, and mended where it answers otherwise than AWS.

    serve.py DIR HTTP-PORT HTTPS-PORT      (started by hack/moto/moto, which says what is seeded)

It takes DIR/server.pem and DIR/server.key, writes one line per request to DIR/requests, and DIR/seeded (KEY=value) once it listens.
It listens on 127.0.0.1, for HTTPS on 127.0.0.2 too. IAM is enforced from the first request on; the seed needs none.
"""

import os

# read by moto when it is imported
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"
os.environ.setdefault("MOTO_ALLOW_NONEXISTENT_REGION", "true")

import datetime
import hashlib
import io
import ipaddress
import json
import re
import ssl
import sys
import threading
from html import escape, unescape
from urllib.parse import parse_qs, unquote
from xml.parsers.expat import ExpatError

from moto.athena.models import Database, athena_backends
from moto.athena.responses import AthenaResponse
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.iam.access_control import CreateAccessKeyFailure, IAMPolicy, PermissionResult, create_access_key
from moto.iam.models import iam_backends
from moto.kinesis.models import kinesis_backends
from moto.kinesis.responses import KinesisResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.redshift.models import redshift_backends
from moto.redshift.responses import RedshiftResponse
from moto.s3.exceptions import MalformedXML, NoSuchUpload
from moto.s3.models import S3Backend, s3_backends
from moto.sqs.models import sqs_backends
from moto.sts.models import sts_backends
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

IAM = iam_backends[ACCOUNT]["aws"]
S3 = s3_backends[ACCOUNT]["aws"]
STS = sts_backends[ACCOUNT]["aws"]

# --- the seed ---------------------------------------------------------------------------------------------------------------------


def allow(*pairs):
    """A policy of (actions, resources), each one word or several with spaces between."""
    statements = [{"Effect": "Allow", "Action": actions.split(), "Resource": where.split()} for actions, where in pairs]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


BUCKETS = "arn:aws:s3:::orders arn:aws:s3:::empty arn:aws:s3:::frankfurt arn:aws:s3:::orders-lake"
OBJECTS = "arn:aws:s3:::orders/* arn:aws:s3:::empty/* arn:aws:s3:::frankfurt/* arn:aws:s3:::orders-lake/*"
# the second is that of the examples
REGIONS = "us-east-1", "eu-central-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/connection-reader"
WAREHOUSE = f"arn:aws:redshift:us-east-1:{ACCOUNT}"
ANALYST = allow(("redshift:GetClusterCredentials", f"{WAREHOUSE}:dbuser:sales/analyst {WAREHOUSE}:dbname:sales/warehouse"))
QUEUE = " ".join(f"arn:aws:sqs:{region}:{ACCOUNT}:new-orders" for region in REGIONS)
GROUPS = " ".join(f"arn:aws:athena:{region}:{ACCOUNT}:workgroup/*" for region in REGIONS)
CATALOGS = f"arn:aws:athena:us-east-1:{ACCOUNT}:datacatalog/AwsDataCatalog arn:aws:athena:us-east-1:{ACCOUNT}:datacatalog/lake"
SHOP = f"arn:aws:glue:us-east-1:{ACCOUNT}:catalog arn:aws:glue:us-east-1:{ACCOUNT}:database/shop"
SEES_QUEUE = ("sqs:GetQueueAttributes", QUEUE)
TAKES_MESSAGES = ("sqs:ReceiveMessage sqs:DeleteMessage", QUEUE)
SEES_GROUPS = ("athena:GetWorkGroup", GROUPS)
SEES_CATALOGS = ("athena:GetDataCatalog athena:GetDatabase", CATALOGS)
SEES_SHOP = ("glue:GetDatabase", SHOP)
READER = allow(("s3:ListBucket", BUCKETS), ("s3:GetObject", OBJECTS))
STREAMS = {"orders": "ACTIVE", "sealed": "ACTIVE", "moving": "UPDATING", "forming": "CREATING"}
THESE = " ".join(f"arn:aws:kinesis:{region}:{ACCOUNT}:stream/{name}" for region in REGIONS for name in STREAMS)
SEES_STREAMS = ("kinesis:DescribeStreamSummary", THESE)
READS_STREAMS = ("kinesis:ListShards kinesis:GetShardIterator", THESE)
LISTS_STREAMS = ("kinesis:ListStreams", "*")
USERS = {
    "admin": allow(("*", "*")),
    "reader": READER,
    "writer": allow(("s3:ListBucket", BUCKETS), ("s3:GetObject s3:PutObject", OBJECTS)),
    "lister": allow(("s3:ListBucket", BUCKETS)),
    "getter": allow(("s3:GetObject", OBJECTS)),
    "putter": allow(("s3:ListBucket", BUCKETS), ("s3:PutObject", OBJECTS)),
    "nobody": None,
    "assumer": allow(("sts:AssumeRole", ROLE)),
    "analyst": ANALYST,
    "guest": allow(("redshift:GetClusterCredentials", f"{WAREHOUSE}:dbuser:sales/analyst")),
    "watcher": allow(SEES_QUEUE, ("s3:ListBucket", BUCKETS)),
    "collector": allow(SEES_QUEUE, TAKES_MESSAGES, ("s3:ListBucket", BUCKETS), ("s3:GetObject", OBJECTS)),
    "courier": allow(SEES_QUEUE, TAKES_MESSAGES, ("s3:ListBucket", BUCKETS), ("s3:GetObject s3:PutObject", OBJECTS)),
    "onlooker": allow(SEES_QUEUE, ("s3:ListBucket", BUCKETS), ("s3:GetObject s3:PutObject", OBJECTS)),
    "drainer": allow(SEES_QUEUE, TAKES_MESSAGES, ("s3:ListBucket", BUCKETS)),
    "clerk": allow(SEES_GROUPS),
    "indexer": allow(SEES_GROUPS, SEES_CATALOGS, ("s3:ListBucket", BUCKETS), ("s3:PutObject", OBJECTS)),
    "browser": allow(SEES_GROUPS, SEES_CATALOGS, SEES_SHOP, ("s3:ListBucket", BUCKETS), ("s3:GetObject", OBJECTS)),
    "querier": allow(SEES_GROUPS, SEES_CATALOGS, SEES_SHOP, ("s3:ListBucket", BUCKETS), ("s3:GetObject s3:PutObject", OBJECTS)),
    "viewer": allow(SEES_STREAMS),
    "surveyor": allow(SEES_STREAMS, LISTS_STREAMS),
    "consumer": allow(SEES_STREAMS, READS_STREAMS),
    "auditor": allow(SEES_STREAMS, LISTS_STREAMS, READS_STREAMS),
    "sharder": allow(SEES_STREAMS, ("kinesis:ListShards", THESE)),
    "cataloguer": allow(LISTS_STREAMS),
}
CLUSTER = {
    "cluster_identifier": "sales", "node_type": "ra3.xlplus", "master_username": "admin", "master_user_password": "Admin-secret-1",
    "db_name": "warehouse", "cluster_type": "single-node", "cluster_security_groups": [], "vpc_security_group_ids": [],
    "cluster_subnet_group_name": None, "availability_zone": "us-east-1a", "preferred_maintenance_window": None,
    "cluster_parameter_group_name": None, "automated_snapshot_retention_period": None, "port": 5439, "cluster_version": "1.0",
    "allow_version_upgrade": True, "number_of_nodes": 1, "publicly_accessible": False, "encrypted": True, "region_name": "us-east-1",
}


def seed():
    """Makes everything, and returns what DIR/seeded says about it."""
    said = {}
    for bucket, region in {"orders": "us-east-1", "empty": "us-east-1", "frankfurt": "eu-central-1", "orders-lake": "eu-central-1"}.items():
        S3.create_bucket(bucket, region)
    for bucket in ("orders", "frankfurt"):
        S3.put_object(bucket, "2026/a.txt", b"one order\n")
    for user, policy in USERS.items():
        IAM.create_user("us-east-1", user)
        if policy:
            IAM.put_user_policy(user, "rights", policy)
        key = IAM.create_access_key(user)
        said[f"{user.upper()}_KEY"], said[f"{user.upper()}_SECRET"] = key.access_key_id, key.secret_access_key
    redshift_backends[ACCOUNT]["us-east-1"].create_cluster(**CLUSTER)
    for region in REGIONS:
        sqs_backends[ACCOUNT][region].create_queue("new-orders", None)
    seed_athena(athena_backends[ACCOUNT]["us-east-1"])
    for stream, state in STREAMS.items():
        kinesis_backends[ACCOUNT]["us-east-1"].create_stream(stream, 2).status = state
    kinesis_backends[ACCOUNT]["eu-central-1"].create_stream("orders", 2).status = "ACTIVE"
    kinesis_backends[ACCOUNT]["us-east-1"].start_stream_encryption(None, "sealed", "KMS", "alias/aws/kinesis")
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/assumer"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "ext-1"}},
    }
    trust = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    IAM.create_role("connection-reader", trust, "/", None, "reads orders", [], "3600")
    IAM.put_role_policy("connection-reader", "rights", READER)
    IAM.put_role_policy("connection-reader", "warehouse", ANALYST)
    IAM.put_role_policy("connection-reader", "queue", allow(SEES_QUEUE, TAKES_MESSAGES))
    IAM.put_role_policy("connection-reader", "athena", allow(SEES_GROUPS, SEES_CATALOGS, SEES_SHOP))
    IAM.put_role_policy("connection-reader", "streams", allow(SEES_STREAMS, READS_STREAMS))
    said["ROLE_ARN"], said["EXTERNAL_ID"] = ROLE, "ext-1"
    for name, seconds in {"SESSION": 43200, "EXPIRED": -60}.items():
        session = STS.assume_role("us-east-1", name.lower(), ROLE, None, seconds, "ext-1")
        said[f"{name}_KEY"], said[f"{name}_SECRET"] = session.access_key_id, session.secret_access_key
        said[f"{name}_TOKEN"] = session.session_token
    return said


def seed_athena(athena):
    """Work groups that a query may be run in, that is closed, and two that do not take the caller's place for results; catalogs, a database."""
    enforced = {"OutputLocation": "s3://orders/results/"}
    for name, state, configuration in [
        ("sales", "ENABLED", {"EnforceWorkGroupConfiguration": False}),
        ("closed", "DISABLED", {}),
        ("enforcing", "ENABLED", {"EnforceWorkGroupConfiguration": True, "ResultConfiguration": enforced}),
        ("managed", "ENABLED", {"ManagedQueryResultsConfiguration": {"Enabled": True}}),
    ]:
        athena.create_work_group(name, configuration, "", [])
        athena.work_groups[name].state = state
    for catalog in ("AwsDataCatalog", "lake"):
        athena.create_data_catalog(catalog, "GLUE", "", {}, [])
        athena.databases[catalog, "shop"] = Database(catalog_name=catalog, database_name="shop")


# --- a request --------------------------------------------------------------------------------------------------------------------

SCOPE = re.compile(r"Credential=([^/, ]+)/\d{8}/([^/, ]+)/([^/, ]+)/aws4_request")
NO_HOST = re.compile(r"(\[.*\]|[^.:]+)(:\d+)?")


class Call:
    """What a request is, told without moto."""

    def __init__(self, environ):
        self.environ = environ
        self.method = environ["REQUEST_METHOD"]
        self.host = environ.get("HTTP_HOST", "")
        self.path, _, self.query = (environ.get("RAW_URI") or environ["PATH_INFO"]).partition("?")
        self.body = get_input_stream(environ).read()
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(self.body), str(len(self.body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        self.names = [word.partition("=")[0] for word in self.query.split("&") if word]
        self.target = environ.get("HTTP_X_AMZ_TARGET", "")
        form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
        self.form = {name: values[0] for name, values in parse_qs(self.body.decode(errors="replace") if form else "").items()}
        self.authorization = environ.get("HTTP_AUTHORIZATION", "")
        self.token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN", "")
        scope = SCOPE.search(self.authorization)
        self.key_id, self.region, service = scope.groups() if scope else ("", "", "")
        self.service = service or (self.target.split("_")[0].lower() or ("sts" if "Action" in self.form else "s3"))
        self.bucket, self.key, self.virtual = self.place()

    def place(self):
        """The bucket and the key that an S3 request names, and whether the bucket is in the host."""
        host = self.host.rpartition(":")[0] if ":" in self.host else self.host
        path = unquote(self.path).removeprefix("/")
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            if not NO_HOST.fullmatch(self.host):
                return host.split(".")[0], path, True
        bucket, _, key = path.partition("/")
        return bucket, key, False

    @property
    def action(self):
        if self.service != "s3":
            return f"{self.service}:{self.target.rpartition('.')[2] or self.form.get('Action', '-')}"
        if self.key:
            if "uploadId" in self.names or "uploads" in self.names:
                start = "uploads" in self.names
                names = {"POST": "CreateMultipartUpload" if start else "CompleteMultipartUpload", "PUT": "UploadPart",
                         "DELETE": "AbortMultipartUpload", "GET": "ListParts"}
            else:
                names = {method: f"{method.capitalize()}Object" for method in ("GET", "HEAD", "PUT", "DELETE")}
        elif self.bucket:
            names = {"GET": "ListObjectsV2" if "list-type" in self.names else "ListObjects", "HEAD": "HeadBucket",
                     "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
        else:
            names = {"GET": "ListBuckets"}
        return "s3:" + names.get(self.method, "-")

    def line(self, status, code):
        target = self.path + ("?" + "&".join(self.names) if self.names else "")
        words = [self.method, self.host, target, self.action, self.key_id, str(status), code, self.environ["wsgi.url_scheme"]]
        return " ".join(re.sub(r"\s", "_", word) or "-" for word in words) + "\n"

    def principal(self):
        try:
            headers = {"X-Amz-Security-Token": self.token} if self.token else {}
            return create_access_key(ACCOUNT, "aws", self.key_id, headers)
        except CreateAccessKeyFailure:
            return None

    def may(self, action, resource):
        principal = self.principal()
        found = [IAMPolicy(policy).is_action_permitted(action, resource) for policy in principal.collect_policies()] if principal else []
        return PermissionResult.PERMITTED in found and PermissionResult.DENIED not in found

    def expired(self):
        session = STS.get_assumed_role_from_access_key(self.key_id)
        return bool(session) and session.session_token == self.token and session.expiration < utcnow()


def utcnow():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


# --- answers as AWS gives them ----------------------------------------------------------------------------------------------------

XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACES = {
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "redshift": "http://redshift.amazonaws.com/doc/2012-12-01/",
}
S3_ERRORS = {
    "AccessDenied": (403, "Access Denied"),
    "AuthorizationHeaderMalformed": (400, "The authorization header is malformed; the region '{asked}' is wrong; expecting '{region}'"),
    "ExpiredToken": (400, "The provided token has expired."),
    "InvalidArgument": (400, "Unsupported Authorization Type"),
    "InvalidRequest": (400, "Missing required header for this request: x-amz-content-sha256"),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "PermanentRedirect": (301, "The bucket you are attempting to access must be addressed using the specified endpoint. "
                               "Please send all future requests to this endpoint."),
    "RequestTimeTooSkewed": (403, "The difference between the request time and the current time is too large."),
    "XAmzContentSHA256Mismatch": (400, "The provided 'x-amz-content-sha256' header does not match what was computed."),
}
# how the services that speak JSON call what moto calls otherwise
JSON_CODES = {
    "AccessDenied": "AccessDeniedException",
    "ExpiredToken": "ExpiredTokenException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
}


def s3_error(call, code, headers=(), **details):
    status, message = S3_ERRORS[code]
    message = message.format(asked=call.region, region=details.get("Region"))
    known = {"Code": code, "Message": message, **details, "RequestId": "0A49CE4060975EAC", "HostId": "moto"}
    body = XML + "<Error>" + "".join(f"<{name}>{escape(value, quote=False)}</{name}>" for name, value in known.items()) + "</Error>"
    return status, [*headers, ("Content-Type", "application/xml")], body.encode()


def service_error(call, code, message):
    """An error before the action, of a service that is not S3: in JSON where the request is, else in the query protocol's envelope."""
    if call.target:
        body = json.dumps({"__type": JSON_CODES.get(code, code), "message": message})
        return 400, [("Content-Type", call.environ.get("CONTENT_TYPE") or "application/x-amz-json-1.1")], body.encode()
    body = (f'<ErrorResponse xmlns="{NAMESPACES.get(call.service, NAMESPACES["sts"])}">\n  <Error>\n    <Type>Sender</Type>\n'
            f"    <Code>{code}</Code>\n    <Message>{escape(message, quote=False)}</Message>\n  </Error>\n"
            "  <RequestId>00000000-0000-0000-0000-000000000000</RequestId>\n</ErrorResponse>\n")
    return 403, [("Content-Type", "text/xml")], body.encode()


def refused_s3(call):
    """What S3 would answer before moto is asked, or None."""
    bucket = S3.buckets.get(call.bucket)
    if not call.key_id:
        if call.authorization:
            return s3_error(call, "InvalidArgument", ArgumentName="Authorization", ArgumentValue=call.authorization)
        if call.bucket and not bucket:
            return s3_error(call, "NoSuchBucket", BucketName=call.bucket)
        return s3_error(call, "AccessDenied")
    if bucket and bucket.region_name != call.region:
        # Where the host names the bucket, DNS leads to its region, and the signature is for another; else the request came to another region.
        if call.virtual:
            return s3_error(call, "AuthorizationHeaderMalformed", Region=bucket.region_name)
        endpoint = f"{call.bucket}.s3.{bucket.region_name}.amazonaws.com"
        return s3_error(call, "PermanentRedirect", [("x-amz-bucket-region", bucket.region_name)], Endpoint=endpoint, Bucket=call.bucket)
    digest = call.environ.get("HTTP_X_AMZ_CONTENT_SHA256")
    if not digest:
        return s3_error(call, "InvalidRequest")
    if re.fullmatch("[0-9a-f]{64}", digest) and digest != hashlib.sha256(call.body).hexdigest():
        return s3_error(call, "XAmzContentSHA256Mismatch", ClientComputedContentSHA256=digest)
    try:
        sent = datetime.datetime.strptime(call.environ.get("HTTP_X_AMZ_DATE", ""), "%Y%m%dT%H%M%SZ")
    except ValueError:
        return s3_error(call, "AccessDenied")
    if abs(sent - utcnow()) > datetime.timedelta(minutes=15):
        return s3_error(call, "RequestTimeTooSkewed")
    return s3_error(call, "ExpiredToken") if call.expired() else None


def refused(call):
    """What AWS would answer before moto is asked, or None."""
    if call.service == "s3":
        return refused_s3(call)
    if not call.key_id:
        return service_error(call, "MissingAuthenticationToken", "Request is missing Authentication Token")
    if call.expired():
        return service_error(call, "ExpiredToken", "The security token included in the request is expired")
    return None


def code_of(body):
    """The error code of an answer, in XML or in JSON."""
    found = re.search(rb"<Code>([\w.]+)</Code>", body) or re.search(rb'"__type":\s*"(?:[^"]*#)?([\w.]+)"', body)
    return found.group(1).decode() if found else "-"


def mended(call, status, headers, body):
    """What AWS would answer where moto has answered this."""
    code = code_of(body) if status >= 300 else "-"
    if call.service == "s3":
        # a bucket that is not there is said to whoever has a signature
        if code == "AccessDenied" and call.bucket and call.bucket not in S3.buckets and call.method != "PUT":
            return s3_error(call, "NoSuchBucket", BucketName=call.bucket)
        # that an object is not there is for those to know who may list
        if code == "NoSuchKey" and not call.may("s3:ListBucket", f"arn:aws:s3:::{call.bucket}"):
            return s3_error(call, "AccessDenied")
        return status, headers, body
    if status in (401, 403) and code != "-":
        message = re.search(rb"<Message>(.*?)</Message>", body, re.S)
        message = unescape(message.group(1).decode()) if message else ""
        if code == "AccessDenied" and call.form.get("RoleArn"):
            message += f" on resource: {call.form['RoleArn']}"
        return service_error(call, code, message)
    if status == 200 and call.form.get("Action") == "AssumeRole" and not external_id_fits(call):
        message = f"User: {call.principal().arn} is not authorized to perform: sts:AssumeRole on resource: {call.form['RoleArn']}"
        return service_error(call, "AccessDenied", message)
    if call.action == "redshift:GetClusterCredentials":
        return mended_password(call, code, status, headers, body)
    if call.service == "athena":
        return missing_in_athena(call, status, body) or (status, headers, body)
    return status, headers, body


def missing_in_athena(call, status, body):
    """What AWS says of a work group and of a catalog that moto answers `null` for; and where Athena asks the Glue catalog, which it does as the caller."""
    asked = json.loads(call.body or "{}")
    if call.action == "athena:GetDatabase" and status in (200, 400):
        for place in ("catalog", f"database/{asked.get('DatabaseName')}"):
            resource = f"arn:aws:glue:{call.region}:{ACCOUNT}:{place}"
            if not call.may("glue:GetDatabase", resource):
                message = f"User: {call.principal().arn} is not authorized to perform: glue:GetDatabase on resource: {resource}"
                return service_error(call, "MetadataException", f"{message} {said_by_glue('AccessDeniedException')}")
        if status == 400 and code_of(body) == "MetadataException":
            return service_error(call, "MetadataException", f"Database {asked.get('DatabaseName')} not found. {said_by_glue('EntityNotFoundException')}")
    if status == 200 and call.action in ("athena:GetWorkGroup", "athena:GetDataCatalog") and None in json.loads(body).values():
        return service_error(call, "InvalidRequestException", f"{asked.get('WorkGroup') or asked.get('Name')} is not found.")
    return None


def said_by_glue(code):
    """What Athena repeats of an answer of the Glue catalog."""
    return f"(Service: AmazonDataCatalog; Status Code: 400; Error Code: {code}; Request ID: 00000000-0000-0000-0000-000000000000; Proxy: null)"


def mended_password(call, code, status, headers, body):
    """moto asks for no right on the database, and gives a password that no database knows; this one the PostgreSQL of hack/postgresql does."""
    if code == "ClusterNotFound":
        return 404, headers, body
    if status != 200:
        return status, headers, body
    database = f"arn:aws:redshift:{call.region}:{ACCOUNT}:dbname:{call.form['ClusterIdentifier']}/{call.form.get('DbName', '*')}"
    if not call.may(call.action, database):
        message = f"User: {call.principal().arn} is not authorized to perform: {call.action} on resource: {database}"
        return service_error(call, "AccessDenied", message)
    password = f"<DbPassword>{call.form['DbUser']}-canary</DbPassword>".encode()
    return status, headers, re.sub(rb"<DbPassword>.*?</DbPassword>", password, body)


def determine_resource(self):
    """moto knows what a right is about for few services; for this one without it only `*` would fit."""
    if self._get_action() != "GetClusterCredentials":
        return "*"
    user = f"{self._get_param('ClusterIdentifier')}/{self._get_param('DbUser')}"
    return f"arn:aws:redshift:{self.region}:{ACCOUNT}:dbuser:{user}"


RedshiftResponse._determine_resource = determine_resource


def determine_resource_of_athena(self):
    kinds = {"GetWorkGroup": ("workgroup", "WorkGroup"), "GetDataCatalog": ("datacatalog", "Name"), "GetDatabase": ("datacatalog", "CatalogName")}
    kind, parameter = kinds.get(self._get_action(), (None, None))
    return f"arn:aws:athena:{self.region}:{ACCOUNT}:{kind}/{self._get_param(parameter)}" if kind else "*"


AthenaResponse._determine_resource = determine_resource_of_athena


def determine_stream(self):
    """The same for streams; a list of them is about none."""
    name = self._get_param("StreamName")
    return self._get_param("StreamARN") or (f"arn:aws:kinesis:{self.region}:{ACCOUNT}:stream/{name}" if name else "*")


KinesisResponse._determine_resource = determine_stream


def external_id_fits(call):
    """moto lets a condition pass whose key the request does not have; AWS does not."""
    role = IAM.get_role_by_arn(call.form["RoleArn"])
    statements = json.loads(role.assume_role_policy_document)["Statement"]
    wanted = [statement.get("Condition", {}).get("StringEquals", {}).get("sts:ExternalId") for statement in statements]
    return any(one is None or one == call.form.get("ExternalId") for one in wanted)


def complete_multipart_upload(self, bucket_name, multipart_id, body, moto=S3Backend.complete_multipart_upload):
    """moto answers 500 for an upload that it does not know, and for a list of parts that is none."""
    try:
        parts = list(body)
    except (ExpatError, LookupError, AttributeError, ValueError):
        parts = []
    if not parts:
        raise MalformedXML
    if multipart_id not in self.get_bucket(bucket_name).multiparts:
        raise NoSuchUpload(upload_id=multipart_id)
    return moto(self, bucket_name, multipart_id, iter(parts))


S3Backend.complete_multipart_upload = complete_multipart_upload

# --- the server -------------------------------------------------------------------------------------------------------------------

PHRASES = {200: "OK", 206: "Partial Content", 301: "Moved Permanently", 400: "Bad Request", 403: "Forbidden", 404: "Not Found"}


class Application:
    def __init__(self, log):
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.log = open(log, "a", buffering=1)
        self.one_at_a_time = threading.Lock()

    def __call__(self, environ, start_response):
        call = Call(environ)
        status, headers, body = refused(call) or mended(call, *self.ask_moto(environ))
        # before the answer: who has it finds the line
        with self.one_at_a_time:
            self.log.write(call.line(status, code_of(body) if status >= 300 else "-"))
        kept = [(name, value) for name, value in headers if name.lower() not in ("content-length", "connection", "server")]
        if call.method == "HEAD":
            length = next((value for name, value in headers if name.lower() == "content-length"), "0")
            body = b""
        else:
            length = str(len(body))
        start_response(f"{status} {PHRASES.get(status, 'Status')}", [*kept, ("Content-Length", length)])
        return [body]

    def ask_moto(self, environ):
        got = {}

        def start_response(status, headers, _=None):
            got.update(status=int(status.split()[0]), headers=headers)

        chunks = self.moto(environ, start_response)
        body = b"".join(chunks)
        getattr(chunks, "close", lambda: None)()
        return got["status"], got["headers"], body


class Handler(MotoRequestHandler):
    disable_nagle_algorithm = True

    def version_string(self):
        return "AmazonS3"

    def log_request(self, *_):
        pass


def main(directory, http, https):
    application = Application(f"{directory}/requests")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/server.pem", f"{directory}/server.key")
    listeners = [("127.0.0.1", http, None), ("127.0.0.1", https, context), ("127.0.0.2", https, context)]
    servers = []
    for host, port, tls in listeners:
        server = make_server(host, port, application, threaded=True, request_handler=Handler)
        if tls:
            # not in the thread that accepts: one client that says nothing would stop all others
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            server.ssl_context = tls
        servers.append(server)
    said = seed()
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(f"{directory}/seeded.new", "w") as file:
        file.writelines(f"{key}={value}\n" for key, value in said.items())
    os.rename(f"{directory}/seeded.new", f"{directory}/seeded")
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
