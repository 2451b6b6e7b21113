# git(1): its configuration in a ConfigMap, a repository in an emptyDir, another in a volume that is read only.
set -u
export GIT_CONFIG_GLOBAL=/etc/config/gitconfig GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
git config --list --show-origin --global && git config --global user.email; git config --global user.name changed
git init && git rev-parse --show-toplevel --absolute-git-dir
for number in 1 2 3; do echo "$number" > "file$number" && git add . && git commit -m "commit $number"; done
git branch other HEAD~1 && git switch other && echo other > other && git add -A && git commit -qm other &&
    git merge -q main -m merged
git status --short --branch && git log --graph --format='%h %an %s' --all && git rebase main && git stash list
echo dirty >> file1 && git stash && git stash pop && git diff --stat && git checkout -q file1
git worktree add -q ../worktree main && git worktree list && git -C ../worktree status --short
git gc -q && git fsck --full && git count-objects -v | grep -v size && git archive HEAD | tar t
git clone -q . ../clone && git -C ../clone log --oneline | wc -l
git clone -q --bare "file://$PWD" ../bare && git push -q ../bare HEAD:refs/heads/pushed && git -C ../bare branch
git bundle create -q ../all.bundle --all && git bundle verify -q ../all.bundle && git grep -n dirty; git blame -s file1
git -C /srv/data/repository log --stat --format='%h %an %s' && git -C /srv/data/repository status --short
git -C /srv/data/repository show HEAD:folder/file &&
    git -C /srv/data/repository cat-file --batch-all-objects --batch-check
git clone -q /srv/data/repository ../from-volume && git -C ../from-volume ls-files
git -C /srv/data/repository commit --allow-empty -m refused
