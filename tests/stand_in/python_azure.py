"""azure-identity with the variables and the token file of Azure's workload identity."""

import base64
import http.server
import json
import ssl
import threading
import urllib.parse

from azure.identity import DefaultAzureCredential


class Authority(http.server.BaseHTTPRequestHandler):
    def answer(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        own = f"https://localhost:18934/{self.path.split('/')[1]}"
        self.answer({"token_endpoint": f"{own}/token", "authorization_endpoint": f"{own}/authorize",
            "issuer": f"{own}/v2.0"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        query = dict(urllib.parse.parse_qsl(body))
        payload = query["client_assertion"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        print(self.path, query["client_id"], query["scope"], claims["aud"], claims["sub"].split(":")[-1])
        self.answer({"access_token": "of Azure", "expires_in": 3600, "token_type": "Bearer"})

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 18934), Authority)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/etc/secret/tls.crt", "/etc/secret/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
credential = DefaultAzureCredential(
    disable_instance_discovery=True, connection_verify="/etc/secret/tls.crt", exclude_environment_credential=True
)
print(credential.get_token("https://vault.azure.net/.default").token)
