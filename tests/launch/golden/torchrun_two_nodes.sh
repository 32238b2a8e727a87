# node 0: 127.0.0.2
torchrun \
  --nnodes=2 \
  --node-rank=0 \
  --master-addr=127.0.0.2 \
  --master-port=29517 \
  --local-addr=127.0.0.2 \
  --nproc-per-node=1 \
  --max-restarts=0 \
  -m laptime run resnet \
  --round=smoke \
  --device=cpu

# node 1: 127.0.0.3
torchrun \
  --nnodes=2 \
  --node-rank=1 \
  --master-addr=127.0.0.2 \
  --master-port=29517 \
  --local-addr=127.0.0.3 \
  --nproc-per-node=1 \
  --max-restarts=0 \
  -m laptime run resnet \
  --round=smoke \
  --device=cpu
