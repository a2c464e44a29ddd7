"""A subscriber and publisher on paho-mqtt, told what to do by one JSON argument.

{"version": 4 or 5, "transport": "tcp" or "websockets",
 "subscribe": {"port": 1883, "filter": "a/#", "qos": 2, "count": 30},
 "publish":   {"port": 1884, "topic": "a/b", "qos": 1, "payloads": ["1", "2"]}}

Either part may be left out. Prints {"received": [[topic, payload, qos], ...]} once `count` messages are there, and
"ready" on a line before that when the subscription is granted. Works with paho-mqtt 1.6 (Debian 12) and 2.x.
"""

import json
import sys
import threading

import paho.mqtt.client as mqtt

TIMEOUT_SECONDS = 20


def make_client(version, transport):
    options = {"protocol": mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311, "transport": transport}
    if hasattr(mqtt, "CallbackAPIVersion"):
        options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
    client = mqtt.Client(**options)
    if transport == "websockets":
        client.ws_set_options(path="/mqtt")
    return client


def connect(client, port):
    connected = threading.Event()
    # The fifth argument, properties, is there in MQTT 5 only.
    client.on_connect = lambda _client, _data, _flags, code, *_: connected.set() if code == 0 else None
    client.connect("127.0.0.1", port, keepalive=30)
    client.loop_start()
    if not connected.wait(TIMEOUT_SECONDS):
        raise RuntimeError("not connected")


def subscribe(client, order):
    received, done, granted = [], threading.Event(), threading.Event()

    def on_message(_client, _data, message):
        received.append([message.topic, message.payload.decode(), message.qos])
        if len(received) >= order["count"]:
            done.set()

    client.on_message = on_message
    client.on_subscribe = lambda *_: granted.set()
    connect(client, order["port"])
    client.subscribe(order["filter"], order["qos"])
    if not granted.wait(TIMEOUT_SECONDS):
        raise RuntimeError("no SUBACK")
    print("ready", flush=True)
    done.wait(TIMEOUT_SECONDS)
    return received


def publish(client, order):
    connect(client, order["port"])
    for payload in order["payloads"]:
        client.publish(order["topic"], payload, order["qos"]).wait_for_publish(TIMEOUT_SECONDS)


def main():
    orders = json.loads(sys.argv[1])
    client = make_client(orders["version"], orders["transport"])
    received = []
    if "subscribe" in orders:
        received = subscribe(client, orders["subscribe"])
    if "publish" in orders:
        publish(client, orders["publish"])
    client.disconnect()
    client.loop_stop()
    print(json.dumps({"received": received}), flush=True)


main()
