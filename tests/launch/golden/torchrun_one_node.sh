# node 0
torchrun --standalone --nproc-per-node=8 --max-restarts=0 -m laptime run resnet --round=mini
