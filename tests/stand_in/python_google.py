"""google-auth with workload identity federation: a token file that a configuration in a ConfigMap names."""

import base64
import http.server
import json
import os
import ssl
import subprocess
import threading
import urllib.parse

import google.auth
import google.auth.transport.requests
import requests


class Sts(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        query = dict(urllib.parse.parse_qsl(body))
        payload = query["subject_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        print(query["audience"], claims["aud"], claims["sub"].split(":")[-1])
        answer = json.dumps({"access_token": "of Google", "expires_in": 3600, "token_type": "Bearer",
                             "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 18933), Sts)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/secret/tls.crt", "/etc/secret/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
session = requests.Session()
session.verify = "/etc/secret/tls.crt"
credentials.refresh(google.auth.transport.requests.Request(session))
print(type(credentials).__module__, credentials.token, os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
