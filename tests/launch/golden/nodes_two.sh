# node 0: 10.0.0.1
env 'A=b c' laptime run resnet \
  --round=smoke \
  --device=cpu \
  --nodes=2 \
  --rendezvous=10.0.0.1:29500 \
  --node-rank=0

# node 1: 10.0.0.2
env 'A=b c' laptime run resnet \
  --round=smoke \
  --device=cpu \
  --nodes=2 \
  --rendezvous=10.0.0.1:29500 \
  --node-rank=1
