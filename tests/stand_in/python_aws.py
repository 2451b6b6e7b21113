"""boto3 with IRSA's variables and token file; a security token service on loopback stands for Amazon's."""

import base64
import http.server
import json
import threading
import urllib.parse

import boto3
from botocore.config import Config

ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><AssumedRoleUser><Arn>{arn}/s</Arn><AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>AKID</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>of the role</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"""


class Sts(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        query = dict(urllib.parse.parse_qsl(body))
        payload = query["WebIdentityToken"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        print(query["Action"], query["RoleArn"], claims["aud"], claims["sub"].split(":")[-1])
        answer = ANSWER.format(arn=query["RoleArn"]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Sts)
threading.Thread(target=server.serve_forever, daemon=True).start()
import os

os.environ["AWS_ENDPOINT_URL_STS"] = f"http://127.0.0.1:{server.server_port}"
session = boto3.Session()
found = session.get_credentials()
print(found.method, found.get_frozen_credentials(), session.region_name)
