# node 0
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=0

# node 1
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=1

# node 2
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=2

# node 3
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=3

# node 4
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=4

# node 5
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=5

# node 6
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=6

# node 7
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=7

# node 8
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=8

# node 9
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=9

# node 10
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=10

# node 11
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=11

# node 12
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=12

# node 13
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=13

# node 14
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=14

# node 15
env X=1 docker run \
  --rm \
  --init \
  --network=host \
  --ipc=host \
  --gpus=all \
  --volume=/home/me:/home/me \
  --volume=/data:/data \
  --env=X \
  --workdir=/home/me laptime:1 laptime run llama31_8b \
  --round=v5.1 \
  '--out=runs/a b' \
  --runs=10 \
  --nproc=8 \
  --threads=4 \
  --seed=7 \
  --division=open \
  --data=/data \
  '--submitter=O'"'"'Neill' \
  --status=onprem \
  --system=16x8 \
  '--suite=my suite' \
  --hang-timeout=600.0 \
  --set=parallel.accumulation_steps=2 \
  --set=optimizer.lr=0.1 \
  --nodes=16 \
  --rendezvous=node0:29500 \
  --node-rank=15
