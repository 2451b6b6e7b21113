# tail(1): a file that grows in an emptyDir, and a file of a ConfigMap that changes.
printf 'first\n' > log
tail -n +1 -f log > followed & tail=$!
until grep -qs first followed; do :; done
printf 'second\n' >> log
until grep -qs second followed; do :; done
kill $tail; cat followed
tail -n 1 -F /etc/config/greeting > followed 2> said & tail=$!
until grep -qs . followed; do :; done
echo CHANGE
until grep -q changed followed; do sleep 0.1; done
kill $tail; cat followed said
