"""Request/reply between services: for answers that are needed now and may be asked for again.

A request is the JSON of an operation's request model on the operation's subject, with the
deadline header; the answer is an :class:`RpcReply`. ``noetl_contract.rpc.<service>`` declares
the operations of a service.
"""

from noetl_contract.rpc.reply import Refusal, RpcReply, decode_reply, encode_reply

__all__ = ["Refusal", "RpcReply", "decode_reply", "encode_reply"]
